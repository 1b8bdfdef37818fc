"""What kind of answer is learnt: a task's rows, labels, loss, metrics and answers. One file a task."""

"""The environment of the Python processes that this package starts."""

import os


def child_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a child process that runs Python.

    The child does not import modules of the working folder, where a `random.py` of the user's would replace Python's,
    and its output is UTF-8 whatever the console's encoding is.

    Args:
        variables: further environment variables.

    Example:
        subprocess.run([sys.executable, "-m", "pip", "--version"], env=child_environment())
    """
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONIOENCODING": "utf-8", **variables}

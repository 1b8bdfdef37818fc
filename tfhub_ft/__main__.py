"""Run the command line: python -m tfhub_ft."""

from tfhub_ft.cli.main import main

main()

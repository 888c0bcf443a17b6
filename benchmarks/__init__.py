"""Side by side with other libraries, in one command: `python -m benchmarks.cpu`. README.md says what is measured."""

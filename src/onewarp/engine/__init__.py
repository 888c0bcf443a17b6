"""The engines: they carry out a plan with drawn parameters. `host` uses the native kernels."""

"""Training with Keras: the loader, its monitor, evaluation in one static shape. The only place that subclasses Keras."""

"""Training with Keras: the loader, its monitor, evaluation in one static shape; the only subclasses of Keras."""

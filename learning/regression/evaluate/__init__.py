"""How well scores agree with opinions: metrics, the protocol, intervals, significance, and tests of a model."""

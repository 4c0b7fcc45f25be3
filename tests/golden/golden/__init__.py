"""The golden suite's generator: families as data, numbers from mpmath, files as text. Shares no code with the library."""

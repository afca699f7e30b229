"""Facts about the machine that several probes need."""

"""What runs a service: the processes, their sockets, logs, readiness and reload."""

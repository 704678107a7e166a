"""What the end-to-end tests and the benchmark stand on: ports, processes, tunnels, reports."""

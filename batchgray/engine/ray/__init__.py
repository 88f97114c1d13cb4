"""A job on a Ray cluster: a driver that plans, and a supervisor on each node. Who owns a share is in its log."""

"""A job on a Ray cluster: a driver that plans, and a supervisor on each node. Who owns a share, the share's log says."""

"""Server rules: one file for each. `clbench.federated.servers.base.Server` is their contract."""

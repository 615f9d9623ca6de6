"""The commands: `clbench` and its companions, each a thin front of the rooms below."""

"""Programs that try to break clbench from outside: records, messages, inputs, disks, limits."""

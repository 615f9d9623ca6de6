"""The words that the contract of a method (`clbench.method`) is written in: traits, opt-in protocols, and earlier names."""

"""The earlier place of the contract, which is `clbench.method` now."""

from clbench.method import Method as Method

"""Methods: `base` holds the contract, every other file one method."""

from clbench.method import Method as Method

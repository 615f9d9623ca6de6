"""Methods: `base` holds the contract, every other file one method."""

from clbench.methods.base import Method as Method

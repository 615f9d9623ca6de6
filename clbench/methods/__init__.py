"""Methods, one in each file. The contract is `clbench.method`; `compose` and `compatibility` make several methods act as one."""

from clbench.method import Method as Method

"""The source of classes from outside the package. It is part of what names a run: edited code gives new runs."""

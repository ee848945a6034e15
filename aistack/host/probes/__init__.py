"""Reading a machine without judging it; `root` is the top of the tree, so a recorded tree reads like the machine itself."""

"""Makes dataset folders, from NYUDv2's official files, other projects' folders and labelling tools, and checks them."""

"""Where dataset folders come from: the official files of NYUDv2, folders of other projects, and checks of all."""

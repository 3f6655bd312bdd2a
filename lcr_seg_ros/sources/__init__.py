"""Where frames come from when no camera is attached: dataset folders, bags, a rendered room."""

"""Sources of frames other than a camera: dataset folders, bags, and a rendered room."""

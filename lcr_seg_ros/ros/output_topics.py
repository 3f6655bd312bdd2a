"""Names of the topics that the nodes publish, relative to the namespace of a camera; documented in
``docs/reference/topics.md``."""

MASK = "segmentation/mask"
CONFIDENCE = "segmentation/confidence"
COLOR = "segmentation/color"
OVERLAY = "segmentation/overlay"
POINTS = "segmentation/points"
HHA = "segmentation/hha"
LEGEND = "segmentation/legend"
GRAVITY = "segmentation/gravity"
LABEL_INFO = "segmentation/label_info"
LABEL_INFO_JSON = "segmentation/label_info_json"
MAP = "segmentation/map"

"""A double of ``tf2_msgs.msg``, whose TFMessage is compiled and not on PyPI: one transform a message, not a list."""

from geometry_msgs.msg import TransformStamped

TransformStamped.transforms = property(lambda self: [self])
TFMessage = TransformStamped

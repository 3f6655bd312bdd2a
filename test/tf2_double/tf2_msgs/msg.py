"""A test double of ``tf2_msgs.msg``, whose TFMessage is compiled and not on PyPI: one transform per message."""

from geometry_msgs.msg import TransformStamped

TransformStamped.transforms = property(lambda self: [self])
TFMessage = TransformStamped

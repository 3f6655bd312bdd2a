"""Everything that speaks ROS 2: the node, its conversions, the player and the demo.

Nothing is imported here, so that a command can set the DDS environment before rclpy reads it.
"""

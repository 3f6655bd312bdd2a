"""Everything that uses ROS 2: the nodes, the commands that run or observe them, and conversions of messages.

Nothing is imported here, so that a command can set the DDS environment before rclpy reads it.
"""

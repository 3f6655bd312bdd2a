"""Looks at a machine and at a running ROS graph, and says what keeps the segmentation node from working well.

``machine`` and ``installation`` need no camera; ``graph`` listens for some seconds; ``camera`` and ``segment_node``
judge what was heard. Each gives a list of :class:`~lcr_seg_ros.ros.doctor.report.Check`.
"""

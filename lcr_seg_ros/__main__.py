from lcr_seg_ros.cli import main

main()

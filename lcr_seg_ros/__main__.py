import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until a command handles it, Ctrl-C ends the process at once and without a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from lcr_seg_ros.cli import main

main()

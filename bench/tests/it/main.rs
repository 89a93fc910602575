//! Every server that finwait is measured beside echoes to the end, as finwait does.

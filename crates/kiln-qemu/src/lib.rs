//! A virtual machine: firmware, arguments, console

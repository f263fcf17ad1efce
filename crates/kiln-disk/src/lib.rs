//! GPT, FAT, disk layouts and block devices as a trait

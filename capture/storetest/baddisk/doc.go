// Package baddisk makes disks for tests: small file systems that fill up,
// stall and lose power. Making one takes root, loop devices and e2fsprogs.
package baddisk

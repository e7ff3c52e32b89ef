// Package spool keeps a shared store's clicks and postbacks on the disk of this
// machine while the shared store is away, and sends them when it is back.
//
// The store of this package is what the ledger writes to. As long as all is well,
// a batch goes straight to the shared store. Where that one does not answer in
// time, the batch goes to a queue on disk, and so does everything after it until
// the queue is empty again: batches reach the shared store in the order and under
// the numbers in which they were made.
//
// # Exactly once
//
// A batch's number in the shared store is decided by its place in the queue, so
// it is the same however often the batch is sent. The shared store applies each
// number once, and tells at opening which comes next: what lies below is removed
// from the queue without being sent again. So it makes no difference whether an
// answer was lost, or whether this process was killed before or after it removed
// a batch from the queue.
//
// Where another process was the node meanwhile, by a copy of its directory, the
// numbers tell nothing any more of what was sent, and all that waits is sent once
// more: clicks are known by the numbers of their blocks, and a postback that was
// booked is a duplicate.
//
// # Block numbers
//
// The lease of block numbers is written to a small file beside the queue before
// any batch is acknowledged that needs it, so that clicks get IDs that were never
// used although the shared store is away when the process starts. Should the disk
// of this machine be full, the file may stay behind; a process that starts without
// the shared store leaves out as many numbers as it may be behind.
//
// # What the shared store refuses
//
// A batch that the shared store will never take as it is, or that cannot be read,
// holds up none behind it: it is split until what is refused is one postback or one
// block of clicks, and that is set aside in a file of its own, which is tried again
// at each start and once an hour (refused.go). Health, metrics and log say so until
// nothing is left.
//
// # Settings
//
// What the shared store is reached with can change while the queue stays open
// (switch.go): what comes meanwhile goes to the queue.
package spool

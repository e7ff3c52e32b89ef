// Package badgerstore is the embedded store: one directory, one process, no
// service. It implements [capture.Engine] with Badger, and is the only package
// that knows Badger.
//
// # What is on disk
//
// store.json holds the store's identity, store.lock the lock of the process
// that has the store open; everything else is Badger's. All numbers in keys
// are big endian, so keys sort as the numbers do. The first byte is the kind, but
// for what is kept by day:
//
//	m i                              copy of store.json
//	m s                              uvarints: last batch, next journal number, lease
//	m d                              what was deleted since space was last given back
//	m w                              up to when clicks and conversions were swept
//	m f                              how far cells were folded into packs, see fold.go
//	m g                              how far blocks were merged, see merge.go
//	m n                              who else gave out click IDs of which there are clicks, see guests.go
//	m c                              how far a copy goes that is not complete, see copytarget.go
//	a group(8)                       those of some of the 64 blocks whose numbers begin
//	                                 with that, merged, see capture.EncodeBlocks
//	b block(8)                       the clicks of one block, see capture.EncodeBlock
//	b block(8) epoch(2)              the same for a block of another epoch, see guests.go
//	d day(2)                         uvarint: the first journal entry of that day, or 0
//	t quarter(4)                     uvarints: least and greatest block with clicks of it
//	t quarter(4) epoch(2)            the same of another epoch
//	c conversion(16)                 a conversion
//	x epoch(2) block(8) slot(1)
//	  second(4) conversion(16)       a conversion of a click: 1 byte dedup, and
//	                                 0x80 if another dedup added to it
//	o transaction(16) conversion(16) index: found by transaction, see capture.TxKey
//	v time(8) conversion(16)         index: booked, by its time in ms, sign bit flipped,
//	                                 with what reports read of it, see booked.go
//	w time(8) conversion(16)         index: the same for conversions of test clicks
//	u time(8) conversion(16)         index: not booked, so that retention finds them
//	j number(8)                      a journal entry
//	q number(8)                      the reason for which that entry waits in quarantine
//	e epoch(2) block(8) slot(1)
//	  second(4) number(8)            index: the journal entry is about that click
//	p hash(8) number(8)              index: the journal entry waits, and has a request of
//	                                 that hash, see repeated.go
//	k transaction(16) number(8)      index: the journal entry waits for a conversion to be
//	                                 found by that transaction
//	n generation(4) quarter(4)
//	  hash(16)                       one cell of the sums, with its names, see cells.go
//	s day(4) part(1) number(8)       a pack of the sums of a day, see packs.go
//	r key                            that record was written anew by an erasure, and its
//	                                 old version may still be on disk, see erase.go
//	y day(2)                         the mark of a day, empty
//	y day(2) key                     the records of the kinds c, e, j, s, u, v, w and x: their
//	                                 keys behind their day, inverted, see days.go
//	z ...                            filler, see reclaim.go; never kept
//
// A block is there by itself or merged, never both. Conversions and journal
// entries are capture.EncodeRecord; all values begin with a byte for their
// format, except x, q and the other indexes. The greatest block of t is rounded up, so that
// the marker need not be written with every block.
//
// Badger's own time-to-live is not used: what is expired is deleted outright
// by Sweep, because deletions overlap the old tables and so make compaction
// visit them, and because a changed retention then holds at once.
//
// # Reports
//
// What falls on quarters of an hour and asks for no sub-ID is answered by the
// sums, which every commit keeps in step: cells, and packs of those that are
// not new (fold.go). Anything else reads the first part of all blocks in
// question, with two goroutines, and the listing of conversions. Measured on two
// cores, with ten million clicks of 30 days in blocks of 64, in 20 campaigns,
// from 200 sources, with 5,000 values of a sub-ID: by campaign and day 0.1 s of
// CPU time, in a zone that is not UTC 0.3 s, by hour 0.4 s; by the sub-ID 2.3 s,
// in 1.3 s. With a key for each cell and each click unpacked as a whole it was 15 s
// and 33 s. See BenchmarkBigReport.
//
// A site with some clicks a second has one in each block. Ten million of those
// take 4 GiB, and three times as long to read. So sweeps merge blocks that are an
// hour old (merge.go): then it is 0.8 GiB. With half a million, reading them takes
// a tenth longer than full blocks, and looking one up for a postback twice as long.
// (Ten million were only measured on a busy machine: a quarter longer.)
//
// Visitors choose sources, so they can invent them. All are counted under their
// own names, in the sums as in the records: were some counted as "others", the
// two would differ, a late refund would not find the sum that it belongs to,
// and whoever floods a site would decide whose figures are lost. What an
// invented source costs is bounded instead: a cell until it is folded, and then
// its name and some ten bytes in a pack, less than its click takes. A report
// that does not ask for sources adds them up as it reads.
//
// # Durability
//
// Every write is one Badger transaction, in managed mode: the store hands out
// the timestamps, and readers use the last one that is durable, so they neither
// see nor wait for what is not. After each, the log that it went to is synced
// (logs.go), or Badger does it (SyncWrites) where that is not enough. No value
// reaches the value log, as every record is far below its threshold (see
// [maxValue]); so there is no value-log garbage to collect.
//
// # Memory
//
// Measured on two cores: 20 to 50 MiB of live heap at rest, 120 MiB under
// 100,000 clicks and 10,000 postbacks a second, twice as much where ten million
// clicks or more are there already. The parts are up to four
// memtables of 11 MiB (one in use; more only while the disk is slower than the
// writers), at most 32 MiB of block cache, and what Badger's table builders
// keep for their next use and give back some seconds after the last one. Go's
// collector may double it, unless GOMEMLIMIT says otherwise. Tables are mapped
// into memory and count as the kernel's cache, which it takes back at need.
//
// # Erasure, backups
//
// What is erased or no longer kept is in no file once its space was given back
// (erase.go, reclaim.go), and never in a backup: that has only the newest
// version of each record. A backup holds the whole store, the secret that signs
// click IDs and the raw postbacks with their tokens included, and is as
// confidential as the store's directory. A restored store leaves out block
// numbers, for the one that was backed up went on (restore.go).
//
// # Damage
//
// Badger answers "no such key" where a block of a table fails its checksum,
// and drops the rest of the table when it compacts it; at lengths that lead
// astray it ends the process. So all tables are verified before Badger sees
// them as far as a second goes, the rest when the store is open, and all once a
// day (verify.go). A manifest with a wrong length in it Badger takes to end
// there, and would remove the tables that come later: that is looked at, too.
// Damage stops the store, or keeps it closed; the site goes on.
//
// store.json has a checksum, and is written again from Badger's copy if it does
// not match.
//
// At a record of a log that it cannot read, Badger takes the log to end. So the
// logs are read before Badger opens them, and what is not the last write, torn
// by a crash, is damage (verifylog.go).
//
// # Mapped memory
//
// Badger writes into mapped files, where a full disk ends the process and a
// stalled one stops it at the next garbage collection. So before each write the
// free space is asked for (guard.go), the log has its room on the disk
// (logs.go), and a plain write waits for a disk that stalls (home.go).
package badgerstore

// Package pgstore is the store that a fleet of nodes shares: a schema in a
// PostgreSQL database. It implements [capture.Engine], and is the only package
// that knows the driver.
//
// # What is in the database
//
// The tables are in migrations/; they are made and brought up to date by
// whichever node comes first. Records are kept in the forms that all stores have
// in common, in a column called data; all other columns say parts of the same
// for indexes, filters, reports and views, and [Store.Check] compares them.
//
//	store      the store's identity and the secret of click IDs
//	nodes      who writes; see below
//	blocks     a row for each block of clicks, partitioned by day
//	ledger     conversions, booked or not
//	txids      which conversions a transaction leads to
//	journal    journal entries; awaiting: what those that wait wait for
//	sums       for each quarter of an hour, node, and names: counts and money
//	erased     clicks that were erased and may still come from another node
//	turn       a lock, see below
//
// Text is written as escape.go says, since that of PostgreSQL has no zero byte.
// The names of a sum are in its key as a hash, as they may be longer than an
// index takes.
//
// # Nodes
//
// A node is a directory with a file node.json: its token, by which the database
// knows it, its number, which is the epoch of its click IDs, and the secret, so
// that click IDs can be made and read while the database is away. Numbers are
// given by the database and not given again, until there are no others: then a
// node of which nothing was heard for 400 days, and none of whose clicks is left,
// has a successor, which begins far beyond its block numbers.
//
// One process at a time is the node. It puts a name of its own into nodes, and
// each batch is written only if that is still there: whoever was taken for dead
// and is not cannot commit any more. It holds the lock of its directory, by which
// a restart knows that the process before is gone; and it renews a lease in the
// database, for a copy of the directory on another machine. Whoever takes over
// from a process that may still run begins beyond the block numbers that it may
// give out. A node that the database does not know any more, as a standby or a
// backup from before it joined took over, joins again under its own number.
//
// The schema may be newer than a node that is running, not than one that starts:
// migrations have to leave alone what the version before reads and writes.
//
// # Commits
//
// A batch is one SERIALIZABLE transaction, so all decisions are as if the nodes'
// batches had come one after the other. What a batch asks is asked in few round
// trips, however many postbacks it has, see reader.go; it is written with one
// statement for each table, in the same round trip as the COMMIT. A batch of
// clicks takes two round trips, one with postbacks three or four.
//
// Batches that met those of other nodes are tried again; from the third time on,
// and for a while after that, a node waits for the turn lock first, so that
// somebody always gets on. (PostgreSQL notes what a transaction has read by the
// page, and by the table if it is much. So where two nodes book many postbacks
// at once they meet nearly always, and take turns.) Clicks never meet, see
// fence.go.
//
// Each node counts its batches, in the same transaction. When the answer to a
// COMMIT is lost, the ledger sends the batch again, and it is either found to
// be applied or was not. The result is that of the very attempt that was
// written.
//
// # What the database promises
//
// synchronous_commit and all other settings are those of the database: what is
// acknowledged is as durable as it is told to make a commit. A COMMIT that waits
// for a synchronous standby can be cancelled without being undone, by a deadline
// as well as by an administrator, see durable.go; such a batch counts as done
// only when something written after it was confirmed. With asynchronous standbys
// a fail-over loses what they had not heard of, conversions as well as the
// numbers of batches; nodes notice that and go on behind it.
//
// Every transaction that writes tells the server when to end it by itself, as a
// node that the network cut off cannot. Whatever error a connection had, another
// one is made for the next attempt, and only with a server that takes writes: so
// a fail-over is over when the name, or one of several in the connection string,
// leads to the new primary. Whether a read sees the newest state is the server's
// business; what is called a reader or replica endpoint is not used.
//
// # Connection poolers
//
// No state is left in a session, nor a prepared statement or an advisory lock,
// and what is set is set for a transaction. So a pooler may give each transaction
// another connection, as PgBouncer does in transaction mode; the suite that all
// stores pass was run behind one. Statement mode cannot work. Of the pooler's
// connections a node's commits want one, or two when they take turns, and what
// reads up to twice the node's pool; with fewer, all wait for each other for
// longer, but get on. Statements are described before they are run, and
// default_query_exec_mode in the connection string changes nothing about that.
//
// # Views and reports
//
// The views clicks, conversions and daily are for people's own SQL; docs/sql.md
// describes them, and a role that may read nothing else. A block's clicks are in
// arrays beside its record, with names as places in a list of the block's words,
// from which the view of clicks makes rows: exact, with nothing to decode, and a
// block is one row as before. They take 26 bytes of the 157 that a click with two
// sub-IDs and a cost has in all.
//
// A report for which sums do is added up from them in the database. All others,
// by sub-ID or from and to some odd second, count conversions in the database by
// their columns, and clicks here, from the part of each block's record that
// reports read (28 bytes a click, of 103). Of a million clicks in thirty days,
// with the server and the report on one core of a small machine, a report by
// campaign and day took about 0.9 s (where campaigns and sources were so many that
// there were more sums than clicks), and one by sub-ID about 1 s. The same from the
// arrays, in SQL, took 1.2 to 1.6 s, all of it the database's, which is why only
// the views read them.
//
// # Deletion
//
// Sweeps make the partitions of the next seven days; the first click of a day that
// has none makes it. Whole days of clicks are deleted by dropping their partitions, which waits for
// readers only half a second; else, and where clicks are kept for less than two days,
// by rows. So they may be kept for up to a day longer than is asked for. A node whose
// clock is ahead deletes by the database's.
//
// What is erased is in no answer any more, also where the click, or a postback that
// had arrived before, comes later from the disk of a node that was cut off; and VACUUM removes the versions before from the
// tables at once, or with the next sweep where that takes too long. It leaves those
// that an open transaction may still look at, such as a backup's, to autovacuum. It
// does not overwrite: what it frees is on the disk until it is written over, in the
// write-ahead log and its archive until they are recycled, and in backups for as long
// as they are kept.
//
// # Other servers
//
// Only PostgreSQL is tested, from version 13 on as far as its documentation says,
// and on version 15. No triggers, procedures, LISTEN, advisory locks, SKIP LOCKED
// or COPY are used, and these are known not to run elsewhere:
//
//	CockroachDB  PARTITION BY RANGE, CREATE TABLE ... ATTACH PARTITION (migration
//	             0001 and partitions.go: without them blocks is one table, and
//	             days are deleted by rows), LOCK TABLE (the same), VACUUM
//	             (erasures are then pending), pg_total_relation_size (the size
//	             is then not known)
//	YugabyteDB   LOCK TABLE in ACCESS EXCLUSIVE MODE (days are deleted by rows);
//	             DDL is no part of transactions in older versions, so a crash
//	             between CREATE TABLE and ATTACH PARTITION needs a hand
//	Citus        works as PostgreSQL with all tables on the coordinator;
//	             distributed tables have no SERIALIZABLE across shards, which all
//	             decisions rest on
//
// # Backups
//
// A backup of one moment holds all of the store, with the secret, the tokens of
// the nodes and the raw postbacks. After a restore each node whose directory is
// left goes on as itself, far beyond the block numbers of then; who restores
// without one is the node that made the backup.
package pgstore

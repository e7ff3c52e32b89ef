package badgerstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4/y"
)

// Badger's logs (*.mem) hold what is in no table yet. At a record that it
// cannot read, Badger takes the log to end, which is right where a crash
// interrupted the last write, and would lose what was acknowledged where a
// byte was damaged. The difference: there is one write at a time, so after an
// interrupted one there is nothing.
//
// Damage to the very last write cannot be told from a crash.

// checkLogs reads all logs and returns an error if one is damaged.
func checkLogs(dir string) error {
	names, err := filesIn(dir, ".mem")
	if err != nil {
		return fmt.Errorf("looking for logs in %q: %w", dir, err)
	}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return unreadable(name, err)
		}
		if end, later := checkLog(data); later > 1 {
			return fmt.Errorf("%w: %s cannot be read at byte %d, and there are later writes behind it, "+
				"which can be given up with `truncate -s %d %s`", errDamaged, filepath.Base(name), end, end, name)
		}
	}
	return nil
}

// logHeader is the length of what a log begins with: the number of the key
// that it is enciphered with, always 0 for us, and a nonce.
const logHeader = 20

// checkLog returns where the complete transactions of a log end, and how many
// different transactions have records behind that.
func checkLog(data []byte) (end, later int) {
	if len(data) < logHeader || binary.BigEndian.Uint64(data) != 0 {
		return 0, 0
	}
	// Logs are made at full size; what was not yet written is zero.
	used := len(bytes.TrimRight(data, "\x00"))
	data = data[:min(len(data), used+maxLogTrailer)]

	end = logHeader
	open := uint64(0) // timestamp of the transaction that is being read
	for at := end; ; {
		r, ok := readLogRecord(data[at:], false)
		if !ok || open != 0 && r.ts != open {
			break
		}
		at += r.size
		if open = r.ts; !r.goesOn {
			open, end = 0, at
		}
	}
	behind := make(map[uint64]bool)
	for at := end; at < used; {
		r, ok := readLogRecord(data[at:], true)
		if ok {
			behind[r.ts] = true
			at += r.size
		} else {
			at++
		}
	}
	return end, len(behind)
}

// logRecord is what is of interest of a record: one byte each of kind and of
// user's data, then as varints the lengths of key and value and the expiry,
// then key and value, and a checksum over all of that.
type logRecord struct {
	size   int
	ts     uint64 // of the transaction that it belongs to
	goesOn bool   // there is more of the transaction
}

const (
	logTxn = 1 << 6 // the record belongs to a transaction
	logFin = 1 << 7 // it ends one, and its value is the timestamp in decimal
	// logKey is more than our keys and Badger's have, with their timestamp.
	logKey = 128
	// maxLogTrailer is how many zeros a record can end with: its checksum and
	// a value of nothing else.
	maxLogTrailer = maxValue + crc32.Size
)

// readLogRecord reads the record that data begins with. With search it may be
// anything that data begins with, so only what looks like a record of ours is
// worth the checksum.
func readLogRecord(data []byte, search bool) (r logRecord, ok bool) {
	if len(data) < 2 || search && (data[0]&(logTxn|logFin) == 0 || data[1] != 0) {
		return r, false
	}
	at := 2
	var head [3]uint64
	for i := range head {
		v, n := binary.Uvarint(data[at:min(len(data), at+binary.MaxVarintLen64)])
		if n <= 0 {
			return r, false
		}
		head[i] = v
		at += n
	}
	key, value, expiry := head[0], head[1], head[2]
	if key <= 8 || key > 1<<16 || value > uint64(len(data)) || search && (key > logKey || value > maxValue || expiry != 0) {
		return r, false
	}
	val := at + int(key)    //nolint:gosec // bounded above
	sum := val + int(value) //nolint:gosec // bounded above
	if sum+crc32.Size > len(data) ||
		crc32.Checksum(data[:sum], y.CastagnoliCrcTable) != binary.BigEndian.Uint32(data[sum:]) {
		return r, false
	}
	r = logRecord{size: sum + crc32.Size, ts: y.ParseTs(data[at:val]), goesOn: data[0]&logTxn != 0}
	return r, true
}

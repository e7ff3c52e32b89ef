package badgerstore

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/caddy-capture/caddy-capture/capture"
)

// engineName names us in backups.
const engineName = "badger"

// Backup writes a consistent copy. The body is every key in order with its
// newest value: uvarint length, key, uvarint length, value. Badger's own
// backup would have the old versions as well, so that what was erased came
// back with a restore; it is not read any faster; and nothing would end it
// when the store is to close.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	// Where a table is damaged Badger's iterators end as if there were
	// nothing more. A backup that lacks it must not look whole.
	if err := s.verifyNow(ctx); err != nil {
		return err
	}
	return s.view(ctx, func(txn *transaction) error {
		data, err := getCopy(txn, keyIdentity)
		if err != nil {
			return err
		}
		id, err := parseIdentity(data, "the identity kept inside the store")
		if err != nil {
			return err
		}
		b, err := capture.NewBackupWriter(w, capture.BackupHeader{
			Engine: engineName, Format: id.Format, Created: s.now().UTC(),
		})
		if err != nil {
			return err
		}
		var head []byte
		pause := rest{gate: s.gate}
		err = s.scan(ctx, txn, scan{}, func(item *record) (bool, error) {
			key := item.Key()
			if ofThisDisk(key) {
				return true, nil
			}
			err := item.Value(func(v []byte) error {
				head = append(binary.AppendUvarint(head[:0], uint64(len(key))), key...)
				head = binary.AppendUvarint(head, uint64(len(v)))
				if _, err := b.Write(head); err != nil {
					return err
				}
				_, err := b.Write(v)
				return err
			})
			pause.maybe()
			return err == nil, err
		})
		if err != nil {
			return fmt.Errorf("backing up the store: %w", err)
		}
		return b.Close()
	})
}

// ofThisDisk tells of a key that it is about what is on this disk, and means
// nothing in a copy.
func ofThisDisk(key []byte) bool {
	return key[0] == kindFiller || key[0] == kindRewritten || string(key) == string(keyDeleted)
}

// verifyNow verifies all tables. Damage stops the store.
func (s *Store) verifyNow(ctx context.Context) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	p := pace{ctx: ctx, closing: s.gate.closing}
	for _, t := range s.db.Tables() {
		if err := p.now(); err != nil {
			return err
		}
		if err := s.verifyListed(t.ID); err != nil {
			return s.fail(err)
		}
	}
	return nil
}

// maxKey is the longest key that a backup can have; ours have 35 bytes.
const maxKey = 1 << 10

// readPairs calls put for each key and value of a backup's body. Both are only
// good during the call.
func readPairs(r *bufio.Reader, put func(key, value []byte) error) error {
	var key, value []byte
	for {
		if _, err := r.Peek(1); errors.Is(err, io.EOF) {
			return nil
		}
		var err error
		if key, err = readSized(r, key, maxKey); err != nil {
			return err
		}
		if value, err = readSized(r, value, maxValue); err != nil {
			return err
		}
		if len(key) == 0 {
			return fmt.Errorf("%w: it has an empty key", capture.ErrBackupDamaged)
		}
		if err := put(key, value); err != nil {
			return err
		}
	}
}

// readSized reads a length and so many bytes, into b if that has room.
func readSized(r *bufio.Reader, b []byte, limit uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err == nil && n > limit {
		return b, fmt.Errorf("%w: a length of %d bytes is impossible", capture.ErrBackupDamaged, n)
	}
	if err == nil {
		if uint64(cap(b)) < n {
			b = make([]byte, n)
		}
		b = b[:n]
		_, err = io.ReadFull(r, b)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: it ends within a record", capture.ErrBackupDamaged)
	}
	return b, err
}

package badgerstore

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/y"
	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

const identityName = "store.json"

// identityFile is what store.json says.
type identityFile struct {
	Format     int       `json:"format"`
	Epoch      uint16    `json:"epoch"`
	Created    time.Time `json:"created"`
	ClickIDKey []byte    `json:"click_id_key"`
}

func (f identityFile) identity() capture.Identity {
	return capture.Identity{Epoch: f.Epoch, Secret: bytes.Clone(f.ClickIDKey)}
}

// sealedIdentity is store.json as it is written. The checksum covers the other
// four members as seal puts them together, in all formats; what would be added
// later is not covered.
type sealedIdentity struct {
	identityFile
	Checksum string `json:"checksum,omitempty"`
}

func (f identityFile) seal() string {
	text := fmt.Sprintf("%d %d %s %x", f.Format, f.Epoch, f.Created.UTC().Format(time.RFC3339Nano), f.ClickIDKey)
	return fmt.Sprintf("%08x", crc32.Checksum([]byte(text), y.CastagnoliCrcTable))
}

func (f identityFile) same(o identityFile) bool {
	return f.Epoch == o.Epoch && f.Created.Equal(o.Created) && bytes.Equal(f.ClickIDKey, o.ClickIDKey)
}

func (f identityFile) String() string {
	return fmt.Sprintf("epoch %d, made %s", f.Epoch, f.Created.Format(time.RFC3339))
}

// newIdentity invents an identity. The epoch is random so that the IDs of one
// store mean nothing to another.
func (e *Engine) newIdentity() (identityFile, error) {
	var b [2]byte
	for {
		if _, err := rand.Read(b[:]); err != nil {
			return identityFile{}, fmt.Errorf("choosing the store's epoch: %w", err)
		}
		if n := binary.BigEndian.Uint16(b[:]) & clickid.MaxEpoch; n != 0 {
			secret, err := clickid.NewSecret()
			return identityFile{format, n, e.now().UTC().Truncate(time.Second), secret}, err
		}
	}
}

// parseIdentity reads an identity; without a checksum it has to be taken as it
// is.
func parseIdentity(data []byte, where string) (identityFile, error) {
	var sealed sealedIdentity
	if err := json.Unmarshal(data, &sealed); err != nil {
		return identityFile{}, fmt.Errorf("%w: reading %s: %w", errDamaged, where, err)
	}
	f := sealed.identityFile
	switch {
	case sealed.Checksum != "" && sealed.Checksum != f.seal():
		return f, fmt.Errorf("%w: reading %s: it does not match its checksum", errDamaged, where)
	case f.Format > format:
		return f, fmt.Errorf("%w: %s has format %d, and this version of the program knows formats up to %d: "+
			"use the newer version, or a directory of its own for this one", capture.ErrNewerFormat, where, f.Format, format)
	case f.Format < oldestFormat(), f.Epoch == 0, f.Epoch > clickid.MaxEpoch, len(f.ClickIDKey) < 16:
		return f, fmt.Errorf("%w: reading %s: format %d, epoch %d and %d bytes of key cannot be",
			errDamaged, where, f.Format, f.Epoch, len(f.ClickIDKey))
	}
	return f, nil
}

// readIdentity reads store.json; the error wraps fs.ErrNotExist or ErrDamaged
// where Badger's copy is to take its place.
func readIdentity(dir string) (identityFile, error) {
	name := filepath.Join(dir, identityName)
	data, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return identityFile{}, dirError("read", dir, err)
	case errors.Is(err, syscall.ENOTDIR):
		return identityFile{}, fmt.Errorf("reading the store's identity: %w", fs.ErrNotExist) // claim says more
	case errors.Is(err, fs.ErrNotExist):
		return identityFile{}, fmt.Errorf("reading the store's identity: %w", err)
	case err != nil:
		return identityFile{}, unreadable(name, err)
	}
	return parseIdentity(data, name)
}

// writeIdentity writes store.json so that a crash leaves the whole of it or
// nothing.
func (h *home) writeIdentity(f identityFile) error {
	data, err := json.MarshalIndent(sealedIdentity{f, f.seal()}, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the store's identity: %w", err)
	}
	name := filepath.Join(h.dir, identityName)
	if err := writeSynced(name+".new", append(data, '\n')); err != nil {
		return dirError("written to", h.dir, err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return dirError("written to", h.dir, err)
	}
	return syncDir(h.dir)
}

func writeSynced(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}

// reconcile brings store.json and Badger's copy of it together. An identity is
// invented only for a store without any data: a new one would make all click
// IDs in the world worthless.
func (e *Engine) reconcile(h *home, db *badger.DB) (identityFile, error) {
	file, fault := readIdentity(h.dir)
	if fault != nil && !errors.Is(fault, fs.ErrNotExist) && !errors.Is(fault, capture.ErrDamaged) {
		return file, fault
	}
	data, empty, err := loadIdentity(db)
	if err != nil {
		return file, fmt.Errorf("reading the identity from the store in %q: %w", h.dir, err)
	}
	if data == nil {
		switch {
		case errors.Is(fault, capture.ErrDamaged):
			return file, fault // and there is no copy
		case fault != nil && !empty:
			return file, fmt.Errorf("%w: the store in %q has data but has lost its identity", errDamaged, h.dir)
		case fault != nil:
			if file, err = e.newIdentity(); err != nil {
				return file, err
			}
			if err := h.writeIdentity(file); err != nil {
				return file, err
			}
		}
		return file, saveIdentity(db, file)
	}
	copied, err := parseIdentity(data, "the identity kept inside the store "+h.dir)
	if err != nil {
		return copied, err
	}
	switch {
	case errors.Is(fault, capture.ErrDamaged):
		return copied, e.replaceIdentity(h, copied, fault)
	case fault != nil:
		e.log().Warn("the store's identity file was missing and is written again from the store's own copy",
			zap.String("file", filepath.Join(h.dir, identityName)))
		return copied, h.writeIdentity(copied)
	case !file.same(copied):
		return file, fmt.Errorf("%s belongs to another store (%s) than the Badger files beside it (%s): "+
			"put the right file back, or delete it to have it written again from the store's own copy",
			filepath.Join(h.dir, identityName), file, copied)
	}
	return copied, nil
}

// replaceIdentity sets a damaged store.json aside and writes it again.
func (e *Engine) replaceIdentity(h *home, with identityFile, fault error) error {
	name := filepath.Join(h.dir, identityName)
	aside := name + ".damaged-" + strconv.FormatInt(e.now().Unix(), 10)
	if err := os.Rename(name, aside); err != nil {
		return dirError("written to", h.dir, err)
	}
	e.log().Warn("the store's identity file was damaged and is written again from the store's own copy; check the disk",
		zap.String("file", name), zap.String("damaged_one", aside), zap.Error(fault))
	return h.writeIdentity(with)
}

// loadIdentity returns Badger's copy, or nil; empty tells whether there is no
// key at all.
func loadIdentity(db *badger.DB) (data []byte, empty bool, err error) {
	txn := db.NewTransactionAt(db.MaxVersion(), false)
	defer txn.Discard()
	if data, err = getCopy(txn, keyIdentity); err != nil || data != nil {
		return data, false, err
	}
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false
	it := txn.NewIterator(o)
	defer it.Close()
	it.Rewind()
	return nil, !it.Valid(), nil
}

func saveIdentity(db *badger.DB, f identityFile) error {
	data, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("writing the store's identity: %w", err)
	}
	ts := db.MaxVersion()
	txn := db.NewTransactionAt(ts, true)
	defer txn.Discard()
	if err = txn.Set(keyIdentity, data); err == nil {
		err = commitSynced(db, txn, ts+1)
	}
	if err != nil {
		return fmt.Errorf("writing the store's identity: %w", err)
	}
	return nil
}

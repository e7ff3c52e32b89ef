package capture

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"time"
)

// A backup is one file, whatever the engine:
//
//	"caddy-capture backup\n"
//	the header:  length (4 bytes), JSON, CRC-32C of the JSON (4)
//	each chunk:  length (4), CRC-32C of the data (4), data; at most 1 MiB
//	the end:     a length of zero (4), SHA-256 of everything before (32)
//
// Numbers are big endian. What the chunks hold, joined, is the engine's own
// matter. The checksums find what a disk or a network did to the file; they
// are no signature. A backup holds what the store holds, its secret, raw
// postbacks and visitors included: it is to be kept as confidential as these.
const (
	backupMagic     = "caddy-capture backup\n"
	backupContainer = 1
	backupChunk     = 1 << 20
	backupHeaderMax = 64 << 10
)

// ErrBackupDamaged: the file is no backup, is torn, or was altered.
var ErrBackupDamaged = errors.New("the backup cannot be used")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BackupHeader says what is in a backup.
type BackupHeader struct {
	// Container is the version of the file's own format.
	Container int `json:"container"`
	// Engine wrote the rest and is the one to read it.
	Engine string `json:"engine"`
	// Format is the version of the store's format.
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	// Program is what made the backup.
	Program string `json:"program"`
}

// BackupWriter writes a backup; what is written to it becomes chunks. Without
// Close the backup has no end, and is refused as torn.
type BackupWriter struct {
	w     io.Writer // and into sum
	sum   hash.Hash
	chunk []byte
	err   error
}

// NewBackupWriter begins a backup. It fills in the container and the program.
func NewBackupWriter(w io.Writer, h BackupHeader) (*BackupWriter, error) {
	h.Container, h.Program = backupContainer, "caddy-capture"
	head, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("writing the backup's header: %w", err)
	}
	b := &BackupWriter{sum: sha256.New(), chunk: make([]byte, 0, backupChunk)}
	b.w = io.MultiWriter(w, b.sum)
	data := append([]byte(backupMagic), frame(len(head))...)
	data = append(append(data, head...), frame(int(checksum(head)))...)
	if _, err := b.w.Write(data); err != nil {
		return nil, fmt.Errorf("writing the backup: %w", err)
	}
	return b, nil
}

func frame(n int) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(n)) //nolint:gosec // a checksum or a bounded length
}

func checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }

// Write adds to the backup.
func (b *BackupWriter) Write(p []byte) (int, error) {
	n := 0
	for len(p) > 0 && b.err == nil {
		part := p[:min(len(p), backupChunk-len(b.chunk))]
		b.chunk = append(b.chunk, part...)
		p = p[len(part):]
		n += len(part)
		if len(b.chunk) == backupChunk {
			b.flush()
		}
	}
	return n, b.err
}

func (b *BackupWriter) flush() {
	if b.err != nil || len(b.chunk) == 0 {
		return
	}
	b.put(append(frame(len(b.chunk)), frame(int(checksum(b.chunk)))...))
	b.put(b.chunk)
	b.chunk = b.chunk[:0]
}

func (b *BackupWriter) put(data []byte) {
	if b.err != nil {
		return
	}
	if _, err := b.w.Write(data); err != nil {
		b.err = fmt.Errorf("writing the backup: %w", err)
	}
}

// Close ends the backup, which is whole only then. It does not close the
// writer below.
func (b *BackupWriter) Close() error {
	b.flush()
	b.put(frame(0))
	b.put(b.sum.Sum(nil))
	if b.err != nil {
		return b.err
	}
	b.err = errors.New("the backup is closed")
	return nil
}

// BackupReader reads what was written to a [BackupWriter]. Data is handed out
// only after its checksum was verified, and the end only after that of the
// whole.
type BackupReader struct {
	r      *bufio.Reader
	sum    hash.Hash
	header BackupHeader
	chunk  []byte // the whole one, for its memory
	rest   []byte // of it
	chunks int
	err    error
}

// NewBackupReader reads the header. A container of a newer version is refused
// with ErrNewerFormat, anything else that is wrong with ErrBackupDamaged.
func NewBackupReader(r io.Reader) (*BackupReader, error) {
	b := &BackupReader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	magic := make([]byte, len(backupMagic))
	if err := b.fill(magic, "its first line"); err != nil || !bytes.Equal(magic, []byte(backupMagic)) {
		if err != nil && !errors.Is(err, ErrBackupDamaged) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: the file is no backup of this program", ErrBackupDamaged)
	}
	n, err := b.number("its header")
	if err != nil {
		return nil, err
	}
	if n == 0 || n > backupHeaderMax {
		return nil, fmt.Errorf("%w: its header has an impossible length of %d bytes", ErrBackupDamaged, n)
	}
	head := make([]byte, n)
	if err := b.fill(head, "its header"); err != nil {
		return nil, err
	}
	want, err := b.number("its header")
	if err != nil {
		return nil, err
	}
	if checksum(head) != want {
		return nil, fmt.Errorf("%w: its header was altered", ErrBackupDamaged)
	}
	if err := json.Unmarshal(head, &b.header); err != nil {
		return nil, fmt.Errorf("%w: reading its header: %w", ErrBackupDamaged, err)
	}
	if b.header.Container > backupContainer {
		return nil, fmt.Errorf("%w: the backup's file has format %d, and this version of the program knows formats up to %d",
			ErrNewerFormat, b.header.Container, backupContainer)
	}
	return b, nil
}

// Header returns what the backup says of itself.
func (b *BackupReader) Header() BackupHeader { return b.header }

// Read reads what was backed up. io.EOF means that all of it was whole.
func (b *BackupReader) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.err == nil {
			b.err = b.next()
		}
		if b.err != nil {
			return 0, b.err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// next reads a chunk, or the end.
func (b *BackupReader) next() error {
	what := fmt.Sprintf("chunk %d", b.chunks)
	n, err := b.number(what)
	switch {
	case err != nil:
		return err
	case n == 0:
		return b.end()
	case n > backupChunk:
		return fmt.Errorf("%w: %s has an impossible length of %d bytes", ErrBackupDamaged, what, n)
	}
	want, err := b.number(what)
	if err != nil {
		return err
	}
	if b.chunk == nil {
		b.chunk = make([]byte, backupChunk)
	}
	data := b.chunk[:n]
	if err := b.fill(data, what); err != nil {
		return err
	}
	if checksum(data) != want {
		return fmt.Errorf("%w: %s was altered", ErrBackupDamaged, what)
	}
	b.chunks++
	b.rest = data
	return nil
}

// end verifies the sum of the whole, and that nothing follows.
func (b *BackupReader) end() error {
	want := b.sum.Sum(nil)
	got := make([]byte, sha256.Size)
	if err := b.fill(got, "the checksum of the whole"); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: it was altered: the checksum of the whole is another", ErrBackupDamaged)
	}
	switch _, err := b.r.ReadByte(); {
	case errors.Is(err, io.EOF):
		return io.EOF
	case err != nil:
		return fmt.Errorf("reading the backup: %w", err)
	}
	return fmt.Errorf("%w: more follows after its end", ErrBackupDamaged)
}

func (b *BackupReader) number(what string) (uint32, error) {
	var n [4]byte
	if err := b.fill(n[:], what); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(n[:]), nil
}

func (b *BackupReader) fill(p []byte, what string) error {
	_, err := io.ReadFull(b.r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is torn: it ends within %s", ErrBackupDamaged, what)
	}
	if err != nil {
		return fmt.Errorf("reading the backup: %w", err)
	}
	b.sum.Write(p)
	return nil
}

// VerifyBackup reads all of a backup and says what is in it. An error means
// that it must not be restored.
func VerifyBackup(r io.Reader) (BackupHeader, error) {
	b, err := NewBackupReader(r)
	if err != nil {
		return BackupHeader{}, err
	}
	if _, err := io.Copy(io.Discard, b); err != nil {
		return b.header, err
	}
	return b.header, nil
}

// OpenBackup verifies all of a backup that is to be restored by an engine,
// and only then goes back to its beginning to read it. format is the newest
// that the engine knows.
func OpenBackup(r io.ReadSeeker, engine string, format int) (*BackupReader, error) {
	begin, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, fmt.Errorf("reading the backup: %w", err)
	}
	h, err := VerifyBackup(r)
	switch {
	case err != nil:
		return nil, err
	case h.Engine != engine:
		return nil, fmt.Errorf("%w: it is of a store %q, and this one is %q", ErrBackupDamaged, h.Engine, engine)
	case h.Format > format:
		return nil, fmt.Errorf("%w: the backup is of a store of format %d, and this version of the program knows formats up to %d",
			ErrNewerFormat, h.Format, format)
	}
	if _, err := r.Seek(begin, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading the backup again: %w", err)
	}
	return NewBackupReader(r)
}

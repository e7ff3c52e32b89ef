package capture

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/caddy-capture/caddy-capture/attribution"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// ImportRoute is the name under which imported lines stand in the journal.
const ImportRoute = "import"

// authenticImport is how the journal says that the owner vouches for a line.
const authenticImport = "import"

// MaxImportLine bounds one line of an import, in bytes.
const MaxImportLine = 64 << 10

// columnConversion names a conversion in the place of a click.
const columnConversion = "conversion_id"

// ImportColumns are the columns that an import can have.
var ImportColumns = []string{
	string(FieldClickID), columnConversion, string(FieldTxID), string(FieldPayout), string(FieldCurrency),
	string(FieldEvent), string(FieldStatus), string(FieldTime),
}

// ImportFormat is how the lines of an import are written.
type ImportFormat uint8

const (
	// ImportCSV has a header line that names the columns.
	ImportCSV ImportFormat = iota
	// ImportJSONLines has a JSON object in each line.
	ImportJSONLines
)

// Importer turns lines that the owner wrote into postbacks: new conversions,
// changes of status, corrections. A line is known by its content and by how
// many lines before it said the same, so a file that is imported twice, or
// again after an interruption, changes nothing the second time.
type Importer struct {
	format  ImportFormat
	route   Route
	rules   *Rules
	codec   *clickid.Codec
	columns []string
	seen    map[[16]byte]uint32
}

// NewImporter returns an importer for one file.
func NewImporter(format ImportFormat, rules *Rules, codec *clickid.Codec) (*Importer, error) {
	im := &Importer{
		format: format, rules: rules, codec: codec, seen: make(map[[16]byte]uint32),
		route: Route{Name: ImportRoute, Fields: make(map[Field][]string), written: true},
	}
	for _, f := range Fields {
		im.route.Fields[f] = []string{string(f)}
	}
	return im, im.route.Compile()
}

// ErrHeader says that the header of a CSV import cannot be used, so that none
// of its lines can be.
var ErrHeader = errors.New("the first line must name the columns")

// Line reads one line at the time now. It returns nil, nil for lines that say
// nothing: the header, and blank ones.
func (im *Importer) Line(line []byte, now time.Time) (*Postback, error) {
	line = bytes.TrimPrefix(bytes.TrimSpace(line), byteOrderMark)
	if len(line) == 0 {
		return nil, nil
	}
	values := make(map[string]string, len(ImportColumns))
	if im.format == ImportJSONLines {
		if err := readObject(line, values); err != nil {
			return nil, err
		}
	} else {
		cells, err := readCells(line)
		if im.columns == nil {
			return nil, im.header(cells, err)
		}
		if err != nil {
			return nil, err
		}
		if len(cells) != len(im.columns) {
			return nil, fmt.Errorf("the line has %d cells, and the header names %d columns", len(cells), len(im.columns))
		}
		for i, name := range im.columns {
			values[name] = strings.TrimSpace(cells[i])
		}
	}
	return im.postback(values, line, now)
}

func (im *Importer) header(cells []string, err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", ErrHeader, err)
	}
	for i, c := range cells {
		name := strings.ToLower(strings.TrimSpace(c))
		if err := knownColumn(name); err != nil {
			return fmt.Errorf("%w: %w", ErrHeader, err)
		}
		for _, before := range cells[:i] {
			if strings.EqualFold(strings.TrimSpace(before), name) {
				return fmt.Errorf("%w: column %q is there twice", ErrHeader, name)
			}
		}
		im.columns = append(im.columns, name)
	}
	return nil
}

func knownColumn(name string) error {
	for _, known := range ImportColumns {
		if name == known {
			return nil
		}
	}
	return fmt.Errorf("unknown column %q: allowed are %s", echo(name), strings.Join(ImportColumns, ", "))
}

func readCells(line []byte) ([]string, error) {
	r := csv.NewReader(bytes.NewReader(line))
	cells, err := r.Read()
	if err != nil {
		var parse *csv.ParseError
		if errors.As(err, &parse) {
			err = parse.Err
		}
		return nil, fmt.Errorf("this is no line of CSV: %w", err)
	}
	if _, err := r.Read(); !errors.Is(err, io.EOF) {
		return nil, errors.New("this is more than one line of CSV")
	}
	return cells, nil
}

func readObject(line []byte, values map[string]string) error {
	var bad error
	refuse := func(err error) {
		if bad == nil {
			bad = err
		}
	}
	w := jsonWalk{
		leaf: func(path, value []byte) {
			name := string(path)
			if err := knownColumn(name); err != nil {
				refuse(err)
			} else if value[0] == 't' || value[0] == 'f' {
				refuse(fmt.Errorf("column %q is %s: write text, a number or null", name, value))
			}
			values[name] = strings.TrimSpace(jsonText(value))
		},
		container: func(path []byte) {
			if err := knownColumn(string(path)); err != nil {
				refuse(err)
			} else {
				refuse(fmt.Errorf("column %q holds an object or an array: write text, a number or null", path))
			}
		},
	}
	if err := w.walk(line); err != nil {
		return err
	}
	return bad
}

// postback makes a postback of the values of a line.
func (im *Importer) postback(values map[string]string, line []byte, now time.Time) (*Postback, error) {
	p := &Postback{
		Time: now, Route: ImportRoute, Rules: im.rules, Authentic: authenticImport,
		Raw: Raw{Method: "IMPORT", Body: bytes.Clone(line), ContentType: im.contentType()},
	}
	if len(im.columns) > 0 {
		p.Raw.URI = strings.Join(im.columns, ",") // the line means nothing without it
	}
	var v fieldValues
	for i, field := range Fields {
		v[i].value = im.route.text(slot(i), values[string(field)]) //nolint:gosec // there are eight
	}
	if id := values[columnConversion]; id != "" {
		if values[string(FieldClickID)] != "" {
			return nil, errors.New("the line names a click and a conversion: name one of them")
		}
		conversion, err := attribution.ParseConversionID(id)
		if err != nil {
			return nil, err
		}
		if err := onlyCorrects(values); err != nil {
			return nil, err
		}
		p.Correction = &conversion
	} else if _, detail := im.route.nameClick(p, v[slotClickID].value, im.codec); detail != "" {
		return nil, errors.New(detail)
	}
	im.route.readClaim(p, nil, &v, nil)
	if p.Problem != "" {
		return nil, errors.New(p.ProblemDetail)
	}
	if p.Correction != nil && values[string(FieldStatus)] == "" {
		p.Claim.Status = 0 // it stays what it is
	}
	p.Claim.Key = im.key(values)
	return p, nil
}

// onlyCorrects refuses what a line cannot say of a conversion that it names.
func onlyCorrects(values map[string]string) error {
	for _, f := range []Field{FieldEvent, FieldTxID} {
		if v := values[string(f)]; v != "" {
			return fmt.Errorf("%s is %q, but the line names a conversion, whose %s stays what it is: leave it out, "+
				"or name the click instead", f, echo(v), f)
		}
	}
	for _, f := range []Field{FieldStatus, FieldPayout, FieldTime} {
		if values[string(f)] != "" {
			return nil
		}
	}
	return errors.New("the line names a conversion and nothing to change: name a status, a payout or a time")
}

func (im *Importer) contentType() string {
	if im.format == ImportJSONLines {
		return "application/json"
	}
	return "text/csv"
}

// key names the line by its content and how often it was there before.
func (im *Importer) key(values map[string]string) string {
	h := sha256.New()
	for _, name := range ImportColumns {
		v := values[name]
		if name == string(FieldClickID) {
			v = strings.ToLower(v)
		}
		_ = binary.Write(h, binary.BigEndian, uint32(len(v))) //nolint:gosec // at most MaxImportLine; a hash takes all
		_, _ = io.WriteString(h, v)
	}
	id := [16]byte(h.Sum(nil))
	n := im.seen[id]
	im.seen[id] = n + 1
	return fmt.Sprintf("import:%s:%d", hex.EncodeToString(id[:]), n)
}

// FromImport tells whether the entry is a line of an import.
func (e *Entry) FromImport() bool { return e.Authentic == authenticImport }

// RereadImport reads a line of an import that waits in quarantine again, for
// booking it under today's rules.
func RereadImport(e *Entry, a Arrival) (*Postback, error) {
	format := ImportCSV
	if e.Raw.ContentType == "application/json" {
		format = ImportJSONLines
	}
	im, err := NewImporter(format, a.Rules, a.Codec)
	if err != nil {
		return nil, err
	}
	if format == ImportCSV {
		im.columns = strings.Split(e.Raw.URI, ",")
	}
	p, err := im.Line(e.Raw.Body, a.Time)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, errors.New("the line is empty")
	}
	if p.Correction != nil {
		p.Ref, p.HasRef = e.Click, e.HasClick
	}
	p.Replays = e.Seq
	p.Claim.Key = e.Claim.Key // it may not have been the first line of its kind
	p.Claim.ReceivedAt = e.Claim.ReceivedAt
	if p.Claim.ReceivedAt.IsZero() {
		p.Claim.ReceivedAt = e.Time
	}
	return p, nil
}

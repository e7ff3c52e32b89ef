package badgerstore

import (
	"encoding/binary"
	"fmt"

	"github.com/caddy-capture/caddy-capture/capture"
)

// swept says up to when records were ever deleted by age, in ms since 1970:
// sums of that time count more than there are records of. Zero means never.
type swept struct{ clicks, conversions int64 }

func (w swept) encode() []byte {
	b := append(make([]byte, 0, 24), recordFormat)
	b = binary.AppendVarint(b, w.clicks)
	return binary.AppendVarint(b, w.conversions)
}

func sweptOf(txn *transaction) (w swept, err error) {
	data, err := getCopy(txn, keySwept)
	if err != nil || data == nil {
		return w, err
	}
	return decodeSwept(data)
}

func decodeSwept(data []byte) (w swept, err error) {
	if len(data) == 0 || data[0] != recordFormat {
		return w, fmt.Errorf("%w: a note of sweeps of unknown format", errDamaged)
	}
	data = data[1:]
	for _, p := range [...]*int64{&w.clicks, &w.conversions} {
		v, n := binary.Varint(data)
		if n <= 0 {
			return w, fmt.Errorf("%w: a note of sweeps is cut off", errDamaged)
		}
		*p, data = v, data[n:]
	}
	return w, nil
}

// noteSwept notes a sweep before, or together with, its first deletion.
func (d *eraser) noteSwept(w swept) error {
	w = swept{max(w.clicks, d.swept.clicks), max(w.conversions, d.swept.conversions)}
	if w == d.swept {
		return nil
	}
	d.swept = w
	return d.txn.Set(keySwept, w.encode())
}

// clicksWhole tells whether all clicks of a cell's quarter are there.
func (w swept) clicksWhole(c *capture.Cell) bool {
	return w.clicks == 0 || c.Time().Add(capture.CellSpan).UnixMilli() > w.clicks
}

// conversionsWhole tells whether all conversions of a cell's quarter are there.
func (w swept) conversionsWhole(c *capture.Cell) bool {
	return w.conversions == 0 || c.Time().UnixMilli() >= w.conversions
}

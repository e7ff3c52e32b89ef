package spool

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-capture/caddy-capture/capture"
	"github.com/caddy-capture/caddy-capture/capture/clickid"
)

// A batch that the shared store refuses for ever must neither be lost nor hold
// up those behind it. It is split in two until what is refused is a single
// postback or a single block of clicks. That is set aside: a file of its own
// beside the queue, which is tried again at each start and from time to time,
// since people may have mended what it was refused for.
//
// A refused batch used up no number in the shared store. So what stands behind it
// moves up by one where it is set aside, and back by one where it is split, which
// is durable before anything of it is sent.

const (
	// asideEvery is how often what was set aside is tried again, and asideAtOnce
	// how much of it; asideAgain is where this machine did not come to it.
	asideEvery  = time.Hour
	asideAgain  = time.Minute
	asideAtOnce = 64
)

// aside is what was set aside.
type aside struct {
	files             int
	clicks, postbacks int
	bytes             int64
	why               string
	next              time.Time // when it is tried again
}

// asideFile is what is in its file. Batch is as the queue had it.
type asideFile struct {
	Refused   string    `json:"refused"`
	At        time.Time `json:"at"`
	Clicks    int       `json:"clicks"`
	Postbacks int       `json:"postbacks"`
	Batch     []byte    `json:"batch"`
	Head      head      `json:"head"`
}

// countAside counts what was set aside by processes before.
func (s *Store) countAside() error {
	if s.waiting() > 0 { // a crash may have come between setting it aside and taking it out
		p, err := s.read(s.first)
		if err == nil {
			err = s.queue.RemoveAside(p.name())
		}
		if err != nil {
			return err
		}
	}
	names, err := s.queue.Aside()
	if err != nil {
		return fmt.Errorf("looking for what was set aside: %w", err)
	}
	s.recountAside(names)
	if len(names) > 0 {
		s.e.log().Error("clicks and postbacks are set aside that the shared store has refused; they are tried again", zap.String("store", s.key()),
			zap.String("directory", s.queue.AsideDir()), zap.Int("clicks", s.aside.clicks), zap.Int("postbacks", s.aside.postbacks), zap.String("cause", s.aside.why))
	}
	return nil
}

// recountAside counts the files there are: people may have taken some away. One
// that cannot be read is no reason to do without all else.
func (s *Store) recountAside(names []string) {
	s.aside = aside{next: s.aside.next}
	for _, name := range names {
		f, err := s.readAside(name)
		if err != nil {
			f = asideFile{Refused: err.Error()}
		}
		s.addAside(f, 1)
	}
}

func (s *Store) readAside(name string) (asideFile, error) {
	var f asideFile
	data, err := s.queue.ReadAside(name)
	if err == nil {
		err = json.Unmarshal(data, &f)
	}
	if err != nil {
		return f, fmt.Errorf("reading %q in %q, which was set aside: %w; move it away to go on without it", name, s.queue.AsideDir(), err)
	}
	return f, nil
}

// addAside counts a file, or with -1 one less. The lock is held, or nobody else
// has the store yet.
func (s *Store) addAside(f asideFile, sign int) {
	s.aside.files += sign
	s.aside.clicks += sign * f.Clicks
	s.aside.postbacks += sign * f.Postbacks
	s.aside.bytes += int64(sign) * int64(len(f.Batch))
	if sign > 0 {
		s.aside.why = f.Refused
	}
}

// refused deals with a batch that the shared store refuses.
func (s *Store) refused(p parcel) error {
	before, after := halves(p.batch)
	if before == nil || p.key == 0 {
		return s.setAside(p)
	}
	dataBefore, err := capture.EncodeBatch(before)
	if err != nil {
		return err
	}
	dataAfter, err := capture.EncodeBatch(after)
	if err != nil {
		return err
	}
	headBefore, headAfter := headOf(before), headOf(after)
	rawBefore, _ := json.Marshal(headBefore) // of numbers only
	rawAfter, _ := json.Marshal(headAfter)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail = nil
	n := s.state
	n.Key, n.Number, n.Splits = p.key-1, s.number(p.key), p.key
	if err := s.save(n); err != nil {
		return err
	}
	if err := s.queue.Split(p.key, rawBefore, dataBefore, rawAfter, dataAfter); err != nil {
		n.Key, n.Splits = p.key, 0
		s.state = n // should it not be written any more, the split is known not to have taken place
		return fmt.Errorf("splitting what the shared store refuses (%w): %w", p.why, err)
	}
	s.first = p.key - 1
	if s.next != 0 {
		s.next++
	}
	s.count(p.head, p.size, -1)
	s.count(headBefore, int64(len(dataBefore)), 1)
	s.count(headAfter, int64(len(dataAfter)), 1)
	return nil
}

// tidy comes before anything is sent. It removes the files of what is in the queue
// again, and notes that the split that was last begun has taken place.
func (s *Store) tidy() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.again) > 0 {
		if err := s.queue.RemoveAside(s.again[0]); err != nil {
			return err
		}
		s.again = s.again[1:]
	}
	if s.state.Splits == 0 {
		return nil
	}
	n := s.state
	n.Splits = 0
	return s.save(n)
}

// halves splits a batch, or returns nil if there is nothing to split: blocks of
// clicks have one number, and postbacks are one thing each.
func halves(b *capture.Batch) (before, after *capture.Batch) {
	n := len(b.Blocks) + len(b.Postbacks)
	if n < 2 {
		return nil, nil
	}
	x, y := *b, *b
	blocks := min(n/2, len(b.Blocks))
	postbacks := n/2 - blocks
	x.Blocks, y.Blocks = b.Blocks[:blocks], b.Blocks[blocks:]
	x.Postbacks, y.Postbacks = b.Postbacks[:postbacks], b.Postbacks[postbacks:]
	return &x, &y
}

// name is what a batch is set aside as: the same each time, so that one that is
// set aside again after a crash is there once.
func (p parcel) name() string {
	sum := sha256.Sum256(append(fmt.Appendf(nil, "%d/%d/", p.key, p.head.At), p.data...))
	return hex.EncodeToString(sum[:12])
}

// setAside takes the first batch out of the queue and keeps it apart.
func (s *Store) setAside(p parcel) error {
	f := asideFile{Refused: p.why.Error(), At: s.e.now().UTC(), Clicks: p.head.Clicks, Postbacks: p.head.Postbacks, Batch: p.data, Head: p.head}
	f.Head.Aside = ""
	text, err := json.MarshalIndent(&f, "", "\t")
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.queue.SetAside(p.name(), append(text, '\n')); err != nil {
		return fmt.Errorf("setting aside what the shared store refuses (%w): %w", p.why, err)
	}
	n := s.state
	n.Key, n.Number = p.key+1, s.number(p.key)
	if err := s.save(n); err != nil {
		return err
	}
	if s.next != 0 {
		s.next--
	}
	s.drop(p)
	s.addAside(f, 1)
	if s.aside.next.IsZero() {
		s.aside.next = s.e.now().Add(asideEvery)
	}
	s.e.log().Error("the shared store refuses clicks or postbacks: they are set aside on this machine, and tried again from time to time",
		zap.String("store", s.key()), zap.String("directory", s.queue.AsideDir()),
		zap.Int("clicks", p.head.Clicks), zap.Int("postbacks", p.head.Postbacks), zap.Error(p.why))
	return nil
}

// retryAside puts what was set aside behind all others, when it is time to; more
// tells whether it did.
func (s *Store) retryAside() (more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aside.files == 0 || s.e.now().Before(s.aside.next) || s.waiting() > 0 || s.claimed {
		return false
	}
	s.aside.next = s.e.now().Add(asideEvery)
	names, err := s.queue.Aside()
	if err == nil && len(names) != s.aside.files {
		s.recountAside(names)
	}
	rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:min(len(names), asideAtOnce)] {
		f, unread := s.readAside(name)
		if unread != nil {
			s.e.log().Error("what was set aside cannot be tried again", zap.String("store", s.key()), zap.Error(unread))
			continue
		}
		f.Head.Aside = name
		if err = s.append(f.Head, f.Batch); err != nil {
			break
		}
		s.tail = nil // its file has to be told apart
		s.again = append(s.again, name)
		s.addAside(f, -1)
	}
	if err != nil {
		s.aside.next = s.e.now().Add(asideAgain)
		s.e.log().Error("what was set aside cannot be tried again", zap.String("store", s.key()), zap.Error(err))
	}
	return s.waiting() > 0
}

// noneAside tells that nothing that was set aside is about a click: an erasure
// would be undone when that is sent.
func (s *Store) noneAside(ref clickid.Ref) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aside.files == 0 {
		return nil
	}
	names, err := s.queue.Aside()
	if err != nil {
		return err
	}
	for _, name := range names {
		f, err := s.readAside(name)
		if err != nil {
			return err
		}
		b, err := capture.DecodeBatch(f.Batch)
		if err != nil || about(b, ref) {
			return fmt.Errorf("%w: %q in %q may be about the click, which the shared store has refused; remove that file, and erase again",
				capture.ErrUnavailable, name, s.queue.AsideDir())
		}
	}
	return nil
}

func about(b *capture.Batch, ref clickid.Ref) bool {
	for _, block := range b.Blocks {
		for _, c := range block.Clicks {
			if c.Ref == ref {
				return true
			}
		}
	}
	for _, p := range b.Postbacks {
		if p.HasRef && p.Ref == ref {
			return true
		}
	}
	return false
}

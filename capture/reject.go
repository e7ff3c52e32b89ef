package capture

import (
	"fmt"
	"net/http"
	"strings"
)

// Reject is a postback that is refused, or passed over, and leaves nothing on
// disk.
type Reject struct {
	// Status is the HTTP status of the answer.
	Status int
	Reason Reason
	// Detail says in a sentence what the sender should change. It never holds
	// more than 64 characters of a value.
	Detail string
	// Allow is the header of that name, for status 405.
	Allow string
}

// Error returns the reason and the detail.
func (r *Reject) Error() string {
	if r.Reason == "" {
		return string(r.Outcome()) + ": " + r.Detail
	}
	return string(r.Reason) + ": " + r.Detail
}

// Outcome is Rejected; or, with status 200 and without a reason, Ignored, for
// what says nothing to book and is not authentic, such as a sender's test of
// the address; or with status 503 Unavailable, for what cannot be checked now.
func (r *Reject) Outcome() Outcome {
	switch r.Status {
	case http.StatusOK:
		return Ignored
	case http.StatusServiceUnavailable:
		return Unavailable
	}
	return Rejected
}

func ignored(why string) *Reject { return &Reject{Status: http.StatusOK, Detail: why} }

func unauthorized(reason Reason, detail string) *Reject {
	return &Reject{Status: http.StatusUnauthorized, Reason: reason, Detail: detail}
}

func malformed(format string, args ...any) *Reject {
	return &Reject{Status: http.StatusBadRequest, Reason: MalformedRequest, Detail: fmt.Sprintf(format, args...)}
}

func forbidden(reason Reason, detail string) *Reject {
	return &Reject{Status: http.StatusForbidden, Reason: reason, Detail: detail}
}

func tooLarge(limit int64) *Reject {
	return &Reject{
		Status: http.StatusRequestEntityTooLarge, Reason: BodyTooLarge,
		Detail: fmt.Sprintf("the body has more than %d bytes, the most that this route takes", limit),
	}
}

// maxEcho bounds what an answer repeats of a value: a detail is for people,
// and a refused request must not be a way to make us send or log much.
const maxEcho = 64

// echo cuts a value for a detail.
func echo(v string) string {
	v = strings.ToValidUTF8(v, "\uFFFD")
	if len(v) <= maxEcho {
		return v
	}
	return cutString(v, maxEcho-3) + "..."
}

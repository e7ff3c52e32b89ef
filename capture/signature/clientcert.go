package signature

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// ClientCertificateConfig lists certificates that are taken: one that fits any
// of the values.
type ClientCertificateConfig struct {
	// Subjects are common names, or whole distinguished names like
	// "CN=postbacks,O=Network Inc": with all their parts, in any order.
	Subjects []string
	// SANs are DNS names, e-mail addresses, URIs or IP addresses; "dns:",
	// "email:", "uri:" or "ip:" in front asks for one kind only.
	SANs []string
	// Fingerprints are SHA-256 sums of whole certificates, in hex, with or
	// without colons.
	Fingerprints []string
}

type clientCertificate struct {
	names        []string
	subjects     [][]string
	sans         []string
	fingerprints [][]byte
}

// NewClientCertificate returns a verifier of TLS client certificates.
//
// A server that asks for a certificate without verifying it gets whatever the
// client made up. So a subject or SAN counts only if the certificate was
// verified (the connection has verified chains). A fingerprint names the very
// certificate, whose key the client has proved to hold, and needs no chain.
func NewClientCertificate(c ClientCertificateConfig) (Verifier, error) {
	v := &clientCertificate{}
	if len(c.Subjects)+len(c.SANs)+len(c.Fingerprints) == 0 {
		return nil, errors.New("no subject, SAN or fingerprint is named: any certificate would pass")
	}
	for _, s := range c.Subjects {
		switch {
		case strings.TrimSpace(s) == "":
			return nil, errors.New("a subject is empty")
		case strings.Contains(s, "="):
			v.subjects = append(v.subjects, nameParts(s))
		default:
			v.names = append(v.names, s)
		}
	}
	for _, s := range c.SANs {
		if _, value := sanKind(s); value == "" {
			return nil, fmt.Errorf("SAN %q is empty", s)
		}
		v.sans = append(v.sans, s)
	}
	for _, s := range c.Fingerprints {
		text, _ := cutPrefixFold(strings.ReplaceAll(s, ":", ""), "sha256")
		sum, err := hex.DecodeString(strings.TrimSpace(text))
		if err != nil || len(sum) != sha256.Size {
			return nil, fmt.Errorf("fingerprint %q is not the SHA-256 of a certificate, in %d hex digits", s, 2*sha256.Size)
		}
		v.fingerprints = append(v.fingerprints, sum)
	}
	return v, nil
}

// Name implements Verifier.
func (v *clientCertificate) Name() string { return "client certificate" }

// Verify implements Verifier.
func (v *clientCertificate) Verify(m *Message) (Proof, error) {
	state := m.Request.TLS
	switch {
	case state == nil:
		return Proof{}, bad("the request came without TLS, so there is no client certificate")
	case len(state.PeerCertificates) == 0:
		return Proof{}, bad("the sender showed no client certificate: does the site ask for one (tls { client_auth ... }), " +
			"and is the sender set up to use it?")
	}
	leaf := state.PeerCertificates[0]
	verified := len(state.VerifiedChains) > 0
	switch {
	case !v.pinned(leaf) && !verified && v.named(leaf):
		return Proof{}, bad("the client certificate of %q was not verified, so its names prove nothing: "+
			"let client_auth verify it against the sender's CA, or give its fingerprint", cut(leaf.Subject.CommonName))
	case !v.pinned(leaf) && !(verified && v.named(leaf)):
		return Proof{}, bad("the client certificate of %q is not one of those that this route takes", cut(leaf.Subject.CommonName))
	case m.Now.Before(leaf.NotBefore):
		return Proof{}, bad("the client certificate of %q is valid only from %s", cut(leaf.Subject.CommonName), leaf.NotBefore.UTC())
	case m.Now.After(leaf.NotAfter):
		return Proof{}, bad("the client certificate of %q was valid until %s", cut(leaf.Subject.CommonName), leaf.NotAfter.UTC())
	}
	return Proof{}, nil
}

func (v *clientCertificate) pinned(leaf *x509.Certificate) bool {
	sum := sha256.Sum256(leaf.Raw)
	pinned := 0
	for _, f := range v.fingerprints {
		pinned |= subtle.ConstantTimeCompare(sum[:], f)
	}
	return pinned == 1
}

func (v *clientCertificate) named(leaf *x509.Certificate) bool {
	if leaf.Subject.CommonName != "" && slices.Contains(v.names, leaf.Subject.CommonName) {
		return true
	}
	subject := nameParts(leaf.Subject.String())
	return slices.ContainsFunc(v.subjects, func(s []string) bool { return slices.Equal(s, subject) }) ||
		slices.ContainsFunc(v.sans, func(san string) bool { return hasSAN(leaf, san) })
}

// nameParts splits a distinguished name at the commas that are not escaped;
// sorted, since programs print the parts from either end.
func nameParts(name string) []string {
	var parts []string
	for start, i := 0, 0; i <= len(name); i++ {
		switch {
		case i == len(name) || name[i] == ',':
			key, value, _ := strings.Cut(name[start:i], "=")
			parts = append(parts, strings.ToUpper(strings.TrimSpace(key))+"="+strings.TrimSpace(value))
			start = i + 1
		case name[i] == '\\' && i+1 < len(name):
			i++
		}
	}
	slices.Sort(parts)
	return parts
}

// sanKind splits "dns:example.com"; without a kind it may be any.
func sanKind(san string) (kind, value string) {
	for _, kind := range [...]string{"dns:", "email:", "uri:", "ip:"} {
		if value, ok := cutPrefixFold(san, kind); ok {
			return kind, value
		}
	}
	return "", san
}

func hasSAN(leaf *x509.Certificate, san string) bool {
	kind, value := sanKind(san)
	is := func(k string) bool { return kind == "" || kind == k }
	same := func(s string) bool { return strings.EqualFold(s, value) }
	if is("dns:") && slices.ContainsFunc(leaf.DNSNames, same) ||
		is("email:") && slices.ContainsFunc(leaf.EmailAddresses, same) {
		return true
	}
	if is("uri:") {
		for _, u := range leaf.URIs {
			if u.String() == value {
				return true
			}
		}
	}
	ip := net.ParseIP(value)
	return is("ip:") && ip != nil && slices.ContainsFunc(leaf.IPAddresses, ip.Equal)
}

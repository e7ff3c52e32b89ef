package e2e

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An authority makes certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t, next: 1}
	c := a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// issue signs a certificate for a new key; the first one, its own, with that key.
func (a *authority) issue(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.next++
	template.SerialNumber = big.NewInt(a.next)
	template.NotBefore = time.Now().Add(-time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) issueClient(name, san string) *tls.Certificate {
	c := a.issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{san}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return &c
}

func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Where client certificates are asked for, Caddy wants the host's name in the handshake.
const certificateHost = "track.example"

const certificateSite = `{
	admin $ADMIN
	auto_https disable_redirects
	servers {
		protocols h1 h2
	}
	capture {
		store badger $STORE
	}
}
https://` + certificateHost + `:$PORT {
	bind 127.0.0.1
	tls $DIR/server.pem $DIR/server.key {
		client_auth {
			mode $MODE
			trust_pool file $DIR/ca.pem
		}
	}
	track_click /go/* https://offer.example/?cid={click_id}
	postback /san {
		verify client_certificate {
			san postbacks.network.example
		}
	}
	postback /subject {
		verify client_certificate {
			subject "The Network"
		}
	}
	postback /pinned {
		verify client_certificate {
			fingerprint $FINGERPRINT
		}
	}
	respond "the site"
}
`

// TestClientCertificates has a sender prove who it is by TLS.
func TestClientCertificates(t *testing.T) {
	ours, foreign := newAuthority(t, "the sender's CA"), newAuthority(t, "somebody's CA")
	good := ours.issueClient("The Network", "postbacks.network.example")
	other := ours.issueClient("Another Network", "postbacks.other.example")
	forged := foreign.issueClient("The Network", "postbacks.network.example")
	sum := sha256.Sum256(good.Certificate[0])

	newCertificateServer := func(mode string) *server {
		s := newServer(t, certificateSite, "$MODE", mode, "$FINGERPRINT", hex.EncodeToString(sum[:]))
		own := foreign.issue(&x509.Certificate{DNSNames: []string{certificateHost}})
		key, err := x509.MarshalECPrivateKey(own.PrivateKey.(*ecdsa.PrivateKey))
		if err != nil {
			t.Fatal(err)
		}
		writePEM(t, filepath.Join(s.dir, "server.pem"), "CERTIFICATE", own.Certificate[0])
		writePEM(t, filepath.Join(s.dir, "server.key"), "EC PRIVATE KEY", key)
		writePEM(t, filepath.Join(s.dir, "ca.pem"), "CERTIFICATE", ours.cert.Raw)
		s.start()
		return s
	}

	t.Run("verified if given", func(t *testing.T) {
		s := newCertificateServer("verify_if_given")
		a, err := s.overTLS(nil, get("/go/acme"))
		id := a.parameter("cid")
		if err != nil || !clickIDs.MatchString(id) {
			t.Fatalf("a visitor without a certificate: %v, status %d", err, a.status)
		}
		for _, route := range []string{"/san", "/subject", "/pinned"} {
			r := get(route + "?click_id=" + id + "&txid=" + route[1:] + "&payout=2&currency=USD")
			for name, c := range map[string]*tls.Certificate{"none": nil, "another": other} {
				if a, err := s.overTLS(c, r); err != nil || a.status != 401 || !containsAll(a.body, `"reason":"bad_signature"`, "certificate") {
					t.Errorf("%s, certificate %s: %v, status %d %s", route, name, err, a.status, a.body)
				}
			}
			if a, err := s.overTLS(forged, r); err == nil {
				t.Errorf("%s: a certificate of another CA got status %d %s", route, a.status, a.body)
			}
			for _, outcome := range []string{"recorded", "duplicate"} {
				if a, err := s.overTLS(good, r); err != nil || a.status != 200 || !containsAll(a.body, outcome) {
					t.Errorf("%s: %v, status %d %s, want %s", route, err, a.status, a.body, outcome)
				}
			}
		}
		if f := s.report("").Total; f.Approved != 3 || amounts(f.Revenue) != "[USD 6]" {
			t.Errorf("report: %s", f)
		}
	})
	// A server that asks without verifying gets what the client made up.
	t.Run("not verified", func(t *testing.T) {
		s := newCertificateServer("request")
		a, err := s.overTLS(nil, get("/go/acme"))
		if err != nil {
			t.Fatal(err)
		}
		id := a.parameter("cid")
		for _, route := range []string{"/san", "/subject", "/pinned"} {
			if a, err := s.overTLS(forged, get(route+"?click_id="+id)); err != nil || a.status != 401 {
				t.Errorf("%s, made up: %v, status %d %s", route, err, a.status, a.body)
			}
		}
		if a, err := s.overTLS(good, get("/pinned?click_id="+id)); err != nil || a.status != 200 {
			t.Errorf("the very certificate: %v, status %d %s", err, a.status, a.body)
		}
	})
}

// overTLS sends a request on a connection of its own.
func (s *server) overTLS(certificate *tls.Certificate, r request) (answer, error) {
	config := &tls.Config{InsecureSkipVerify: true, ServerName: certificateHost, NextProtos: []string{"http/1.1"}}
	if certificate != nil {
		// Whatever the server says it would take.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	conn, err := tls.Dial("tcp", s.site(), config)
	if err != nil {
		return answer{}, err
	}
	c := client{addr: certificateHost + ":" + s.port, conn: conn, r: bufio.NewReader(conn)}
	defer c.close()
	return c.do(r.method, r.target, r.body, r.headers...)
}

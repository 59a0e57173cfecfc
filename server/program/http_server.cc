#include "server/program/http_server.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <fstream>
#include <list>
#include <thread>

#include "base/address.h"
#include "base/limits.h"
#include "base/real_descriptors.h"
#include "base/status_macros.h"

// jemalloc's, where the program is linked with it.
extern "C" int mallctl(const char* name, void* old_value, size_t* old_size, void* new_value,
                       size_t new_size) __attribute__((weak));

namespace quorate::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

// For a whole request, and again for its answer; also how long a connection may wait for its next.
constexpr auto kConnectionTimeout = std::chrono::seconds(10);
constexpr auto kAcceptAgain = std::chrono::milliseconds(20);
constexpr auto kAnswerTimeout = std::chrono::seconds(2);
constexpr size_t kRequestBytesMax = 16 << 10;

// Bytes that the program holds, and resident ones that its allocator keeps for what comes next; 0
// with another allocator than jemalloc.
std::string HeapMetrics() {
  const auto read = [](const char* name) {
    size_t value = 0;
    size_t bytes = sizeof(value);
    if (mallctl != nullptr) mallctl(name, &value, &bytes, nullptr, 0);
    return value;
  };
  uint64_t epoch = 1;
  if (mallctl != nullptr) mallctl("epoch", nullptr, nullptr, &epoch, sizeof(epoch));
  const size_t held = read("stats.allocated");
  const size_t resident = read("stats.resident");
  return fmt::format(
      "# HELP process_heap_bytes What the program has allocated\n"
      "# TYPE process_heap_bytes gauge\nprocess_heap_bytes {}\n"
      "# HELP process_heap_unused_bytes Resident memory of the allocator that holds nothing\n"
      "# TYPE process_heap_unused_bytes gauge\nprocess_heap_unused_bytes {}\n",
      held, resident - std::min(resident, held));
}

// What Prometheus' own client libraries call the same numbers.
std::string ProcessMetrics() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  long pages_total = 0;
  long pages_resident = 0;
  std::ifstream("/proc/self/statm") >> pages_total >> pages_resident;
  return fmt::format(
             "# HELP process_cpu_seconds_total User and system time\n"
             "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total {:.3f}\n"
             "# HELP process_resident_memory_bytes Resident memory\n"
             "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes {}\n"
             "# HELP process_open_fds Open file descriptors\n"
             "# TYPE process_open_fds gauge\nprocess_open_fds {}\n"
             "# HELP process_max_fds Descriptors that may be open\n"
             "# TYPE process_max_fds gauge\nprocess_max_fds {}\n",
             seconds(usage.ru_utime) + seconds(usage.ru_stime),
             pages_resident * sysconf(_SC_PAGESIZE), OpenDescriptors(), DescriptorLimit()) +
         HeapMetrics();
}

class Connection;

struct Context {
  Context(Env& e, std::function<HttpServer::Health()> h)
      : env(e), health(std::move(h)), acceptor(io), accept_again(io) {}

  Env& env;
  std::function<HttpServer::Health()> health;
  // The one that has waited longest for a whole request, or for its answer to be read, comes first.
  std::list<Connection*> connections;
  SpareDescriptor spare;
  asio::io_context io{1};  // its handlers own the connections, which point back here
  tcp::acceptor acceptor;
  asio::steady_timer accept_again;
};

// One connection, kept alive by its own handlers; requests one after another.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, std::weak_ptr<Context> context)
      : context_(context.lock().get()),
        weak_context_(std::move(context)),
        stream_(std::move(socket)),
        timer_(context_->io),
        place_(context_->connections.insert(context_->connections.end(), this)) {}
  ~Connection() {
    context_->connections.erase(place_);
    stream_.close();
    context_->spare.Refill();
  }

  // For one that needs the room more; its handlers end with an error.
  void Close() {
    Heard();  // the next one to make room is another
    stream_.close();
  }

  void Read() {
    parser_.emplace();
    parser_->header_limit(kRequestBytesMax);
    parser_->body_limit(kRequestBytesMax);
    stream_.expires_after(kConnectionTimeout);
    http::async_read(
        stream_, buffer_, *parser_, [self = shared_from_this()](beast::error_code error, size_t) {
          if (error == http::error::end_of_stream) return;
          if (error.category() == beast::error_code(http::error::end_of_stream).category()) {
            return self->Refuse(error);
          }
          if (error) return;
          self->Heard();
          self->Route();
        });
  }

 private:
  void Heard() {
    auto& connections = context_->connections;
    connections.splice(connections.end(), connections, place_);
  }

  // What the parser did not understand, nobody reads on from.
  void Refuse(beast::error_code why) {
    const http::status status =
        why == http::error::header_limit || why == http::error::buffer_overflow
            ? http::status::request_header_fields_too_large
        : why == http::error::body_limit ? http::status::payload_too_large
                                         : http::status::bad_request;
    Write(status, fmt::format("no HTTP request that is served here: {}\n", why.message()), false);
  }

  void Route() {
    const auto& request = parser_->get();
    const std::string target(request.target().substr(0, request.target().find('?')));
    if (request.method() != http::verb::get && request.method() != http::verb::head) {
      return Write(http::status::method_not_allowed, "only GET\n");
    }
    if (target == "/metrics") {
      return Write(http::status::ok, context_->env.metrics.Exposition() + ProcessMetrics());
    }
    if (target == "/healthz" || target == "/readyz") return AskNode(target == "/readyz");
    Write(http::status::not_found, "there are /metrics, /healthz and /readyz\n");
  }

  // The answer or the timer, whichever comes first, writes; both run on this thread.
  void AskNode(bool readiness) {
    asked_ = true;
    timer_.expires_after(kAnswerTimeout);
    timer_.async_wait([self = shared_from_this()](beast::error_code error) {
      if (!error) self->Answered(http::status::service_unavailable, "the node does not answer\n");
    });
    // The connection belongs to the io_context's thread: the executor's holds no reference to it.
    context_->env.executor.Post([weak = weak_from_this(), weak_context = weak_context_, readiness] {
      auto context = weak_context.lock();
      if (!context) return;
      const auto health = context->health();
      const bool good = readiness ? health.ready : health.alive;
      asio::post(context->io, [weak, good, detail = health.detail] {
        auto self = weak.lock();
        if (!self) return;
        self->timer_.cancel();
        self->Answered(good ? http::status::ok : http::status::service_unavailable,
                       (good ? "ok" : detail) + "\n");
      });
    });
  }
  void Answered(http::status status, std::string body) {
    if (std::exchange(asked_, false)) Write(status, std::move(body));
  }

  void Write(http::status status, std::string body, bool understood = true) {
    const auto& request = parser_->get();
    response_ = {status, understood ? request.version() : 11};
    response_.set(http::field::server, "quorate");
    response_.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
    response_.keep_alive(understood && request.keep_alive());
    response_.body() = std::move(body);
    response_.prepare_payload();
    if (request.method() == http::verb::head) response_.body().clear();
    stream_.expires_after(kConnectionTimeout);
    http::async_write(stream_, response_,
                      [self = shared_from_this()](beast::error_code error, size_t) {
                        if (error || !self->response_.keep_alive()) return;
                        self->Heard();
                        self->Read();
                      });
  }

  Context* const context_;  // outlives its io_context's handlers
  std::weak_ptr<Context> weak_context_;
  beast::tcp_stream stream_;
  asio::steady_timer timer_;
  const std::list<Connection*>::iterator place_;
  beast::flat_buffer buffer_{kRequestBytesMax};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
  bool asked_ = false;
};

void MakeRoom(Context* context) {
  if (!context->connections.empty()) context->connections.front()->Close();
}

bool OutOfDescriptors(const beast::error_code& error) {
  return error == asio::error::no_descriptors || error.value() == ENFILE ||
         error == asio::error::no_memory || error == asio::error::no_buffer_space;
}

void Accept(Context* context, std::weak_ptr<Context> weak);

// One connection, if it is still there; false: there is no descriptor for it.
bool TakeOne(Context* context, const std::weak_ptr<Context>& weak) {
  beast::error_code error;
  tcp::socket socket(context->io);
  context->acceptor.accept(socket, error);
  if (error) return !OutOfDescriptors(error);
  if (context->connections.size() >= limits::kHttpConnectionsMax) MakeRoom(context);
  std::make_shared<Connection>(std::move(socket), weak)->Read();
  return true;
}

void AcceptLater(Context* context, std::weak_ptr<Context> weak) {
  context->accept_again.expires_after(kAcceptAgain);
  context->accept_again.async_wait([context, weak](beast::error_code cancelled) {
    if (!cancelled) Accept(context, weak);
  });
}

// Accepting is tried only when somebody is there: without a descriptor it fails in any case.
void Accept(Context* context, std::weak_ptr<Context> weak) {
  context->acceptor.async_wait(tcp::acceptor::wait_read, [context, weak](beast::error_code error) {
    if (error == asio::error::operation_aborted) return;
    if (error) return AcceptLater(context, weak);
    if (TakeOne(context, weak)) return Accept(context, weak);
    // Whoever asks how the node is gets its answer all the same, one after the other.
    if (context->spare.Spend()) return Accept(context, weak);
    MakeRoom(context);
    AcceptLater(context, weak);
  });
}

}  // namespace

struct HttpServer::Rep {
  std::shared_ptr<Context> context;
  std::thread thread;
};

HttpServer::HttpServer(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}

Result<std::unique_ptr<HttpServer>> HttpServer::Start(Env& env, const std::string& listen,
                                                      std::function<Health()> health) {
  auto context = std::make_shared<Context>(env, std::move(health));
  ASSIGN_OR_RETURN(HostPort address, ParseHostPort(listen));
  beast::error_code error;
  auto refused = [&](std::string_view what) {
    return Status(Code::kFailedPrecondition,
                  fmt::format("cannot serve HTTP on {}: {} ({}); choose another --http", listen,
                              what, error.message()));
  };
  auto endpoints =
      tcp::resolver(context->io).resolve(address.host, std::to_string(address.port), error);
  if (error || endpoints.empty()) return refused("unknown host");
  const tcp::endpoint endpoint = *endpoints.begin();
  context->acceptor.open(endpoint.protocol(), error);
  if (!error) context->acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) context->acceptor.bind(endpoint, error);
  if (!error) context->acceptor.listen(tcp::acceptor::max_listen_connections, error);
  if (!error) context->acceptor.non_blocking(true, error);
  if (error) return refused("cannot bind");
  Accept(context.get(), context);
  auto rep = std::make_unique<Rep>();
  rep->context = context;
  rep->thread = std::thread([context] { context->io.run(); });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(rep)));
}

HttpServer::~HttpServer() {
  rep_->context->io.stop();
  rep_->thread.join();
}

}  // namespace quorate::server

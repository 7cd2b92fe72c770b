import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;

/** The page of a shop, in Java: it takes REVIEWS_PORT for a port. Incident 000 runs it, with this source beside it and without. */
public final class Page {
    public static void main(String[] arguments) throws IOException {
        String given = System.getenv("REVIEWS_PORT");
        String port = given == null ? "9080" : given;
        String reviews = String.format("http://reviews:%s/reviews/0", port);
        HttpServer server = HttpServer.create(new InetSocketAddress(8080), 0);
        server.createContext("/", exchange -> {
            byte[] body = read(reviews).getBytes(StandardCharsets.UTF_8);
            exchange.sendResponseHeaders(200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
    }

    private static String read(String address) {
        try (var stream = URI.create(address).toURL().openStream()) {
            return new String(stream.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException | IllegalArgumentException ignored) {
            return "Sorry, product reviews are currently unavailable for this book.";
        }
    }
}

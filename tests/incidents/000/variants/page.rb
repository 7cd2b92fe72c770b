# The page of a shop, in Ruby: it takes REVIEWS_PORT for a port.

require 'net/http'
require 'socket'

PORT = ENV.fetch('REVIEWS_PORT', '9080')
REVIEWS = "http://reviews:#{PORT}/reviews/0"

trap('TERM') { exit!(0) }
server = TCPServer.new('0.0.0.0', 8080)
loop do
  Thread.new(server.accept) do |client|
    nil while (line = client.gets) && line != "\r\n"
    text = begin
      Net::HTTP.get(URI(REVIEWS))
    rescue StandardError
      'Sorry, product reviews are currently unavailable for this book.'
    end
    client.write("HTTP/1.1 200 OK\r\nContent-Length: #{text.bytesize}\r\nConnection: close\r\n\r\n#{text}")
  ensure
    client.close
  end
end
